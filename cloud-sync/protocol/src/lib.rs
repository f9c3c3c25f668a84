//! Topics and payloads between fleet and device.
