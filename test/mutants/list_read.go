package main

// ofReading are the mutants of what is read and handed out.
var ofReading = []mutant{
	{
		Name: "removed-user-is-served", Rule: "served works",
		File: "pkg/store/sqlite/cache.go", Old: "(s.removed > since || s.version < since)", New: "s.version < since",
		Pkg: "./pkg/store/sqlite", Test: "TestLoadIsNeverOld", Says: "Load after Remove = <nil>",
	},
	{
		Name: "store-was-not-put-back", Rule: "served works",
		File: "pkg/store/sqlite/cache.go", Old: "(s.removed > since || s.version < since)", New: "s.removed > since",
		Pkg: "./pkg/store/sqlite", Test: "TestAStoreThatWasPutBack", Says: "want 1",
	},
	{
		Name: "old-entry-cached-late", Rule: "served works",
		File: "pkg/store/sqlite/cache.go", Old: "if version < c.mark || bytes", New: "if bytes",
		Pkg: "./pkg/store/sqlite", Test: "TestCacheLeavesOutWhatMayBeOld", Says: "cached true, want false",
	},
	{
		Name: "conflict-of-a-cached-entry", Rule: "served works",
		File: "pkg/store/sqlite/entries.go", Old: "if errors.Is(err, rotate.ErrConflict) {", New: "if false {",
		Pkg: "./pkg/store/sqlite", Test: "TestAConflictIsNotMadeOfWhatIsCached", Says: "Load after the conflict",
	},
}
