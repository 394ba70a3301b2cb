package rotate

import "log/slog"

// Secret is a secret access key. It cannot be printed: every formatting verb,
// slog and encoding/json show a placeholder or an address, also when the
// Secret is nested in an unexported field. The value is held behind a pointer
// because %v follows unexported string fields but not pointers to them.
//
// The zero value holds nothing. A Secret is immutable and safe for concurrent
// use.
type Secret struct{ p *string }

const redacted = "REDACTED"

// NewSecret wraps s.
func NewSecret(s string) Secret { return Secret{p: &s} }

// Reveal returns the secret itself. It is called by the store's encoder, the
// proof, the publishers and the hand-out only.
func (s Secret) Reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// IsZero reports whether s holds nothing.
func (s Secret) IsZero() bool { return s.p == nil || *s.p == "" }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
