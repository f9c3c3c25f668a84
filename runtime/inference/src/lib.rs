//! Chooses an engine by measurement, proves a model on this device, runs it on bounded threads.
