"""The pure part: decisions as functions of (state, event). No loop, no clock, no I/O."""
