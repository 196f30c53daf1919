//! Topologies of network namespaces, with real programs and real traffic.
