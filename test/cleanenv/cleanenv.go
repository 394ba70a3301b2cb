// Package cleanenv keeps a developer's own settings out of tests: whoever has followed
// the README has KEYROT_ENDPOINT in the environment, and who works with AWS AWS_PROFILE.
package cleanenv

import (
	"os"
	"strings"
)

// Clear unsets every variable that keyrot or an AWS SDK reads. A process that a test
// has started, as a KEYROT_TEST_… variable tells, keeps what the test gave it. Call
// Clear from TestMain, before any test runs.
func Clear() {
	var found []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "KEYROT_TEST_") {
			return
		}
		if strings.HasPrefix(name, "KEYROT_") || strings.HasPrefix(name, "AWS_") {
			found = append(found, name)
		}
	}
	for _, name := range found {
		_ = os.Unsetenv(name) // fails only for names that no environment can have
	}
}
