// Package rotatetest holds what tests of package rotate and its adapters
// share: an in-memory AWS with the faults of the real one, an in-memory store,
// and the suite every store must pass. Nothing but tests may import it.
package rotatetest
