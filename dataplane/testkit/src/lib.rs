//! Model tables, fixtures, packets and an independent checksum oracle for tests.
