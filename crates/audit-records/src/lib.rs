//! Linux audit streams: bytes become lines, lines become records, records become events.
