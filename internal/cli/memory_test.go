package cli

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"
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
