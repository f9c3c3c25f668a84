//! The quickstart: the whole system on this machine.
