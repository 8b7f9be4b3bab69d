"""The stack in containers: its secrets, its start from the host, and the set-up inside. See docs/containers.md.

`env_file` and `up` run on the host with any Python 3.11 and nothing installed; `init` and `healthy` run in the image.
"""
