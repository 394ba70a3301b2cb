package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/cost"
)

// A deployment pays a steady load by provisioned capacity if that is cheaper, and
// says so.
func TestDeployFitsTheTable(t *testing.T) {
	t.Parallel()
	template, err := os.ReadFile("../../templates/keyrot.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		users, refused int
		table          string
		want           cost.Capacity
		says           string
	}{
		"few users":                {10, 0, "", cost.Capacity{}, "the table is paid on demand"},
		"many users":               {5000, 0, "", cost.Load{Users: 5000, RotateEvery: 10 * time.Minute, Agents: 1}.Capacity(), "write units a second provisioned"},
		"many that are refused":    {5000, 4990, "", cost.Capacity{}, "the table is paid on demand"},
		"a table that was left":    {5000, 0, "old", cost.Capacity{}, ""},
		"users at a longer period": {500, 0, "", cost.Capacity{}, "the table is paid on demand"},
	} {
		var out bytes.Buffer
		cfg := config.Config{Schedule: config.Schedule{Preset: "default"}, Store: config.Store{Table: row.table}}
		if name == "users at a longer period" {
			cfg.RotateEvery, cfg.DeactivateAfter, cfg.DeleteAfter = 24*time.Hour, 25*time.Hour, 26*time.Hour
		}
		p := &deployment{Env: Env{Err: &out}, cfg: cfg}
		found := make([]candidate, row.users)
		for i := range row.refused {
			found[i].Refused = "keys that keyrot did not create"
		}
		p.fit(found)
		if p.capacity != row.want || !strings.Contains(out.String(), row.says) || row.says == "" && out.Len() > 0 {
			t.Errorf("%s: %+v, %q, want %+v, %q", name, p.capacity, &out, row.want, row.says)
		}
		if c := p.capacity; c != (cost.Capacity{}) {
			index := fmt.Sprintf("ProvisionedThroughput: !If [Provisioned, {ReadCapacityUnits: %d, WriteCapacityUnits: %d}", c.IndexRead, c.IndexWrite)
			if !bytes.Contains(template, []byte(index)) {
				t.Errorf("the template's index has other capacity than %+v", c)
			}
		}
	}
}
