//! The D-Bus service `org.opensnitch.Audit`, for programs.
