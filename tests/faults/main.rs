//! Faults below the process: power loss, disk errors, full disks.
