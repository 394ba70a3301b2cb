package main

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyrot/keyrot/internal/cli"
	"github.com/keyrot/keyrot/test/freeport"
)

// patience is how long a script waits for something, on a busy machine too.
const patience = 5 * time.Minute

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"keyrot": func() { os.Exit(cli.Main()) },
	})
}

// TestScripts runs every script in testdata against the whole command.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Vars = append(env.Vars, "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_STATE_HOME="+home,
				"XDG_CACHE_HOME="+home, "XDG_RUNTIME_DIR="+home, "TMPDIR="+env.WorkDir)
			addr, err := freeport.Addr(t.Context())
			if err != nil {
				return err
			}
			env.Setenv("ADDR", addr)
			addr, err = freeport.Addr(t.Context())
			env.Setenv("ADDR2", addr)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitport": waitPort,
			"setenv":   setEnv,
			"until":    until,
			"lasting":  lasting,
			"front":    (&fronts{}).command,
			"iam":      iamServer,
			"ask":      ask,
		},
	})
}

// waitPort waits until a server at the given address takes connections.
func waitPort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitport HOST:PORT")
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		conn, err := net.DialTimeout("tcp", args[0], time.Second) //nolint:noctx // bounded
		if err == nil {
			_ = conn.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("nobody listens on %s", args[0])
}

// until runs a shell command again and again until it succeeds.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: until COMMAND")
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if ts.Exec("sh", "-c", args[0]) == nil {
			return
		}
	}
	ts.Fatalf("never succeeded: %s", args[0])
}

// setEnv sets a variable to the first line of a file.
func setEnv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: setenv NAME FILE")
	}
	s := bufio.NewScanner(strings.NewReader(ts.ReadFile(args[1])))
	s.Scan()
	ts.Setenv(args[0], s.Text())
}
