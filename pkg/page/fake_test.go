package page_test

import (
	"context"
	"encoding/json"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// nowhere is an audit log that takes everything.
type nowhere struct{}

func (nowhere) Append(context.Context, rotate.Event) error { return nil }

func encode(e rotate.Event) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return b
}
