//! A typed description of a device.
