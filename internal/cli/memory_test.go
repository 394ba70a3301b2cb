package cli

import (
	"context"
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

func TestGroupMemory(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no control groups", nil, 0},
		{"a unit with MemoryMax", map[string]string{
			"proc/self/cgroup": "0::/system.slice/keyrot.service\n", "sys/fs/cgroup/system.slice/keyrot.service/memory.max": "536870912\n",
			"sys/fs/cgroup/system.slice/memory.max": "max\n",
		}, 512 << 20},
		{"a slice above has less", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "2000000\n", "sys/fs/cgroup/a/memory.max": "1000000\n",
		}, 1_000_000},
		{"a container", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "67108864\n"}, 64 << 20},
		{"no limit", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"the first version", map[string]string{
			"proc/self/cgroup": "7:cpu:/x\n5:memory:/docker/1\n0::/docker/1\n", "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "1048576\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 1 << 20},
		{"nonsense", map[string]string{"proc/self/cgroup": "::\nx\n0::/../..\n", "sys/fs/cgroup/memory.max": "-5\n"}, 0},
	} {
		files := fstest.MapFS{}
		for name, text := range tc.files {
			files[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := groupMemory(files); got != tc.want {
			t.Errorf("%s: groupMemory = %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestLimitMemory(t *testing.T) { //nolint:paralleltest // the process has one limit
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	undo := limitMemory()
	if got := debug.SetMemoryLimit(-1); got == math.MaxInt64 || got <= 0 {
		t.Errorf("the limit is %d, want one", got)
	}
	undo()
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("the limit afterwards is %d, want none", got)
	}
	debug.SetMemoryLimit(1 << 30) // as GOMEMLIMIT does
	limitMemory()()
	if got := debug.SetMemoryLimit(-1); got != 1<<30 {
		t.Errorf("GOMEMLIMIT became %d, want 1 GiB as it was given", got)
	}
}

// TestTheHeapGrowsByAboutAsMuch whatever it holds.
func TestTheHeapGrowsByAboutAsMuch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		live uint64
		want int
	}{
		{"nothing is known yet", 0, mostGrowth},
		{"a few users", 2 << 20, mostGrowth},
		{"5,000 users", 20 << 20, 50},
		{"50,000 users", 200 << 20, leastGrowth},
	} {
		if got := growth(tc.live); got != tc.want {
			t.Errorf("%s: growth(%d MiB) = %d, want %d", tc.name, tc.live>>20, got, tc.want)
		}
	}
}

// TestServeAdjustsTheCollector unless GOGC has told it how often to collect.
func TestServeAdjustsTheCollector(t *testing.T) {
	for _, tc := range []struct {
		name, gogc string
	}{
		{"nobody has said", ""},
		{"GOGC has", "1000"},
	} {
		t.Setenv("GOGC", tc.gogc)
		synctest.Test(t, func(t *testing.T) {
			before := debug.SetGCPercent(1000)
			defer debug.SetGCPercent(before)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- collectLess(ctx) }()
			time.Sleep(lookAtHeap + 1)
			synctest.Wait()
			got := debug.SetGCPercent(-1)
			debug.SetGCPercent(got) // was only asked for
			if adjusted := got != 1000; adjusted != (tc.gogc == "") {
				t.Errorf("%s: GOGC is %d", tc.name, got)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if got := debug.SetGCPercent(1000); got != 1000 {
				t.Errorf("%s: GOGC is %d afterwards, want 1000", tc.name, got)
			}
		})
	}
}
