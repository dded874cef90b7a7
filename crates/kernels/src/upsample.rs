//! upsample
