//! The program edge-agent.
