"""The tests."""

import pytest

pytest.register_assert_rewrite("tests.support")  # their assertions show the values too
