// Command mutants spoils keyrot in ways that would break a promise, one way in
// each copy, and runs the test that must notice. A mutant that survives is a hole
// in the tests; the exit status is then 1.
//
// Run it from the top of the repository: go run ./test/mutants [name…]
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// mutant replaces one piece of one file. The named test must fail then, and
// say something that matches Says: dying of a compile error is no proof.
type mutant struct {
	Name string
	Rule string // the promise of the design that it breaks
	File string
	Old  string // must occur exactly once
	New  string
	Pkg  string
	Test string // -run
	Says string // regular expression in the test's output
	Args []string
}

func all() []mutant {
	return slices.Concat(
		mutants,
		readers,
		ofTable,
		ofOutlets,
		ofClients,
		ofBounds,
		ofRecovery,
		ofRecord,
		ofEnding,
		ofCalls,
		ofPace,
		ofBurn,
		ofReading,
		ofGrowth,
		ofCosts,
		ofPage,
		ofEngine,
		ofFiles,
	)
}

func main() {
	want, mutants := os.Args[1:], all()
	results := make([]chan error, len(mutants))
	free := make(chan struct{}, max(1, runtime.NumCPU()))
	for i, m := range mutants {
		if len(want) > 0 && !slices.Contains(want, m.Name) {
			continue
		}
		results[i] = make(chan error, 1)
		go func() {
			free <- struct{}{}
			results[i] <- kill(m)
			<-free
		}()
	}
	survived, n := 0, 0
	for i, m := range mutants {
		if results[i] == nil {
			continue
		}
		n++
		if err := <-results[i]; err != nil {
			survived++
			fmt.Printf("SURVIVED  %-28s %s: %v\n", m.Name, m.Rule, err)
			continue
		}
		fmt.Printf("killed    %-28s by %s of %s\n", m.Name, m.Test, m.Pkg)
	}
	fmt.Printf("%d mutants killed, %d survived\n", n-survived, survived)
	if survived > 0 || n == 0 {
		os.Exit(1)
	}
}

func kill(m mutant) error {
	src, err := os.ReadFile(m.File)
	if err != nil {
		return err
	}
	if c := strings.Count(string(src), m.Old); c != 1 {
		return fmt.Errorf("the text to replace occurs %d times in %s", c, m.File)
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	spoilt := filepath.Join(dir, "spoilt.go")
	if err := os.WriteFile(spoilt, bytes.Replace(src, []byte(m.Old), []byte(m.New), 1), 0o600); err != nil {
		return err
	}
	abs, err := filepath.Abs(m.File)
	if err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {abs: spoilt}})
	if err != nil {
		return err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return err
	}
	args := append([]string{"test", "-overlay", list, "-count=1", "-cpu=1", "-vet=off", "-timeout=10m"}, cheaply...)
	args = append(args, "-run", m.Test, m.Pkg)
	if m.Pkg == "./internal/sim" {
		args = append(args, "-sim.until="+m.Says) // the rest of the simulation shows nothing more
	}
	out, err := exec.Command("go", append(args, m.Args...)...).CombinedOutput()
	switch {
	case err == nil:
		return fmt.Errorf("%s of %s still passes", m.Test, m.Pkg)
	case bytes.Contains(out, []byte("[build failed]")):
		return fmt.Errorf("does not compile:\n%s", out)
	case !regexp.MustCompile(m.Says).Match(out):
		return fmt.Errorf("fails, but does not say %q:\n%s", m.Says, tail(out))
	}
	return nil
}

// cheaply builds what is run once. The compiler collects no garbage as long as it
// needs little memory, and describes nothing for debuggers; the code is the same.
var cheaply = []string{"-toolexec=env GOGC=off GOMEMLIMIT=1GiB", "-gcflags=-dwarf=false"}

func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }
