package quick

import "github.com/keyrot/keyrot/internal/trust"

// ReadTrusted is [ReadFile] for what is believed: it refuses a path whose target
// others can change.
func ReadTrusted(path string) ([]byte, error) {
	if err := trust.Path(path); err != nil {
		return nil, err
	}
	return ReadFile(path)
}
