//! The MQTT connection and its in-memory double.
