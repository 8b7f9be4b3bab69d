"""The custom operators of this project. All of them read the shared configuration of `include.settings`."""
