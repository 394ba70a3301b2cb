// Package difftest asks several AWSes the same questions and compares the
// answers, so that the in-memory AWS of the simulations cannot drift from the
// world: versitygw embedded in the process, and moto in the end-to-end tests.
// It holds tests only.
package difftest
