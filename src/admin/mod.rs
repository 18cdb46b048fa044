//! Admin endpoints: health check and statistics.
//!
//! | endpoint | content |
//! |---|---|
//! | `GET /healthz` | health check and node statistics |

#![forbid(unsafe_code)]

mod health;

pub(crate) use health::health;
