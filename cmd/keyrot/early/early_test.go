package early

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/internal/getkey/quick"
)

func TestWhatTheCacheDoesNotHaveIsTheCommands(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"KEYROT_API_KEY": "K", "KEYROT_CACHE_DIR": t.TempDir()}
	getenv := func(name string) string { return vars[name] }
	for _, r := range []*quick.Request{
		nil,
		{User: "ci", Format: "json", Getenv: getenv},
		{User: "ci", Format: "xml", Getenv: getenv},
		{User: "ci", Format: "json", NoCache: true, Getenv: getenv},
	} {
		if run(r) {
			t.Errorf("run(%+v) = true, want it left to the command", r)
		}
	}
}

// TestWaitsForLittle: a package is initialised as soon as what it imports is.
// Each of these would make the early ones wait for much that they do not use.
func TestWaitsForLittle(t *testing.T) {
	t.Parallel()
	unicode := []string{"os", "unicode", "strings", "fmt", "reflect", "time"} // with it comes all of cryptography
	for dir, not := range map[string][]string{
		"./agent": append(unicode, "crypto/..."),
		"./cache": {"os", "fmt", "strings", "crypto/cipher", "crypto/internal/fips140", "golang.org/x/sys/cpu"},
		".":       {"path/filepath", "net", "net/netip", "net/url", "net/http", "crypto/tls", "crypto/x509", "vendor/golang.org/x/sys/cpu"},
	} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", dir)
		cmd.Env = append(os.Environ(), "GOOS=linux")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			for _, n := range not {
				if below, tree := strings.CutSuffix(n, "..."); dep == n || tree && strings.HasPrefix(dep, below) {
					t.Errorf("%s depends on %s", dir, dep)
				}
			}
		}
	}
}
