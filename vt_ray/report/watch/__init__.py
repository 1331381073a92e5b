"""The terminal: the bar and panel of a stage, and the screen of `vt-tools watch`."""
