// Package rotatetest holds fakes with behaviour and faults for what package
// rotate needs, and the conformance suites that every store must pass. It is
// imported by tests only.
package rotatetest
