//! Which addresses of a subnet are given, and which can be.
