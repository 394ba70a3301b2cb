package hint

import (
	"fmt"
	"io"
	"testing"
)

func TestHint(t *testing.T) {
	t.Parallel()
	if Wrap(nil, "x") != nil || Of(nil) != "" || Of(io.EOF) != "" {
		t.Error("a hint appeared from nowhere")
	}
	err := fmt.Errorf("outer: %w", Wrap(io.EOF, "read less"))
	if got := Of(err); got != "read less" {
		t.Errorf("Of = %q", got)
	}
	if got := err.Error(); got != "outer: EOF" {
		t.Errorf("Error = %q", got)
	}
}
