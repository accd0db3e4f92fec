//! Services that nobody may be behind, and for which somebody comes when they are asked.

/// What slices of endpoints are marked with, by those who would have somebody come: whoever asks the service waits for him.
pub const ANNOTATION: &str = "coracle.dev/woken-by-requests";
