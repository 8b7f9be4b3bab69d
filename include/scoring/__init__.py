"""Batch scoring with the champion."""
