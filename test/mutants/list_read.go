package main

// ofReading are the mutants of what is read and handed out.
var ofReading = []mutant{
	{
		Name: "left-change-is-made", Rule: "one hand",
		File: "pkg/store/sqlite/commits.go", Old: "if c.left.Load() {", New: "if false {",
		Pkg: "./pkg/store/sqlite", Test: "TestEachOfATransactionGetsItsOwnAnswer", Says: "want the new user",
	},
	{
		Name: "rollback-hides-the-signal", Rule: "told",
		File: "pkg/store/sqlite/errors.go", Old: "if over && ctx.Err() != nil {", New: "if false && over {",
		Pkg: "./pkg/store/sqlite", Test: "TestOpeningIsCutShort", Says: "want context canceled",
	},
	{
		Name: "one-failure-fails-all", Rule: "never zero",
		File: "pkg/store/sqlite/commits.go", Old: "err != nil && len(all) > 1 && ctx.Err() == nil", New: "false",
		Pkg: "./pkg/store/sqlite", Test: "TestEachOfATransactionGetsItsOwnAnswer", Says: "Save of a new user",
	},
	{
		Name: "conflict-fails-all", Rule: "on time",
		File: "pkg/store/sqlite/commits.go", Old: "errors.Is(err, rotate.ErrConflict) ||", New: "",
		Pkg: "./pkg/store/sqlite", Test: "TestEachOfATransactionGetsItsOwnAnswer", Says: "transactions, want 2",
	},
	{
		Name: "lost-save-counts", Rule: "one hand",
		File: "pkg/store/sqlite/entries.go", Old: "n == 0 { // then a version was given out", New: "n < 0 { // then a version was given out",
		Pkg: "./pkg/store/sqlite", Test: "TestEachOfATransactionGetsItsOwnAnswer", Says: "want a conflict",
	},
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
		Name: "lock-of-a-removed-file", Rule: "on record",
		File: "pkg/audit/lock_unix.go", Old: "if err == nil && os.SameFile(l.info, there) {", New: "if err == nil && os.SameFile(there, there) || err != nil {",
		Pkg: "./pkg/audit", Test: "TestTheLockIsWhatOthersOpen", Says: "want false: the first has it",
	},
	{
		Name: "lines-lost-beside-a-sync", Rule: "on record",
		File: "pkg/audit/heal.go", Old: "l.held = slices.Concat(held, l.held)", New: "l.held = slices.Concat(held)",
		Pkg: "./pkg/audit", Test: "TestAppendsDoNotWaitForTheDisk", Says: "the log has",
	},
	{
		Name: "anchor-ahead-of-the-disk", Rule: "on record",
		File: "pkg/audit/heal.go", Old: "	l.succeed(at)\n	return nil\n}", New: "	at = mark{l.size, l.tail}\n	l.succeed(at)\n	return nil\n}",
		Pkg: "./pkg/audit", Test: "TestAppendsDoNotWaitForTheDisk", Says: "want the one that is synced",
	},
	{
		Name: "renewed-whatever-it-is", Rule: "on record",
		File: "pkg/store/sqlite/handouts.go", Old: "err == nil && key == keyID && to == addr && last", New: "err == nil && last",
		Pkg: "./pkg/store/sqlite", Test: "TestOnlyRenewalsWait", Says: "another key is saved at once",
	},
	{
		Name: "renewals-are-lost", Rule: "on record",
		File: "pkg/store/sqlite/renewals.go", Old: "if _, newer := r.rows[h]; !newer {", New: "if _, newer := r.rows[h]; newer {",
		Pkg: "./pkg/store/sqlite", Test: "TestRenewalsWaitForEachOther", Says: "afterwards",
	},
	{
		Name: "conflict-of-a-cached-entry", Rule: "served works",
		File: "pkg/store/sqlite/entries.go", Old: "if errors.Is(err, rotate.ErrConflict) {", New: "if false {",
		Pkg: "./pkg/store/sqlite", Test: "TestAConflictIsNotMadeOfWhatIsCached", Says: "Load after the conflict",
	},
}
