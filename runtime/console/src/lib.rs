//! What every program prints: exit codes, JSON, errors, progress, logging.
