//! MSRP endpoint (RFC 4975, 6135, 6714, 3862, 5438, 5547), sans-IO.
