//! The words of Coracle: Kubernetes objects, their kinds, and the rules that make them valid.
