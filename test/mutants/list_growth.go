package main

// ofGrowth are the mutants of what is read, kept and cut as there is more and
// more of it.
var ofGrowth = []mutant{
	{
		Name: "removed-users-stay", Rule: "on time",
		File: "pkg/store/sqlite/entries.go", Old: "if c.Whole || removed <= mark && mark <= c.Mark {", New: "if c.Whole || removed <= removed && mark <= c.Mark {",
		Pkg: "./pkg/store/sqlite", Test: "TestConformance", Says: "what the changes say differs from List",
	},
	{
		Name: "old-records-end-troubles", Rule: "told",
		File: "pkg/notify/book.go", Old: "!b.Troubles[user][what].At.After(e.At) && e.over(user, what)", New: "e.over(user, what)",
		Pkg: "./pkg/notify", Test: "TestTheBookKeepsOpenTroublesOnly", Says: "want bob's only",
	},
	{
		Name: "prune-unproven", Rule: "on record",
		File: "pkg/audit/prune.go", Old: "if _, err := VerifyFile(ctx, l.o.Path, l.o.Settings); err != nil {",
		New: "if _, err := VerifyFile(ctx, l.o.Path, l.o.Settings); err != nil && false {",
		Pkg: "./pkg/audit", Test: "TestPruneProvesTheLogFirst", Says: "want both to say so",
	},
	{
		Name: "cut-without-a-record", Rule: "on record",
		File: "pkg/audit/prune.go", Old: "Time: l.o.Now(), Action: ActionPrune,", New: "Time: l.o.Now(), Action: ActionRepair,",
		Pkg: "./pkg/audit", Test: "TestPrune", Says: "no line says that those before it were pruned",
	},
	{
		Name: "cut-what-is-young", Rule: "on record",
		File: "pkg/audit/prune.go", Old: "return l.Time.Before(t) }", New: "return !l.Time.After(t) }",
		Pkg: "./pkg/audit", Test: "TestPrune", Says: "want the first 59 lines",
	},
	{
		Name: "export-unread", Rule: "on record",
		File: "pkg/audit/prune.go", Old: "err != nil || end != s.To {", New: "(err != nil || end != s.To) && false {",
		Pkg: "./pkg/audit", Test: "TestExportIsReadBack", Says: "is taken for whole",
	},
	{
		Name: "cut-loses-appends", Rule: "on record",
		File: "pkg/audit/prune.go", Old: "if _, err = io.Copy(temp, old); err == nil {", New: "if _, err = io.Copy(temp, io.LimitReader(old, 0)); err == nil {",
		Pkg: "./pkg/audit", Test: "TestCutTakesWhatIsAppendedMeanwhile", Says: "the log has",
	},
	{
		Name: "begin-anywhere", Rule: "on record",
		File: "pkg/audit/verify.go", Old: "if c.begin.Seq > c.cut {", New: "if c.begin.Seq > c.cut && c.n < 0 {",
		Pkg: "./pkg/audit", Test: "TestVerifyOfAHalfPrunedLog", Says: "want sound: false",
	},
	{
		Name: "moved-away-excuses-all", Rule: "on record",
		File: "pkg/audit/log.go", Old: "end, err = files[len(files)-1:].Verify(anchor)", New: "end, err = files[len(files)-1:].Verify()",
		Pkg: "./pkg/audit", Test: "TestTheNewestFileIsGone", Says: "a log whose newest file was removed begins with",
	},
	{
		Name: "delete-the-newest-first", Rule: "on record",
		File: "pkg/store/dynamodb/auditprune.go", Old: "for _, sk := range blocks {", New: "for i := range blocks {\n\t\tsk := blocks[len(blocks)-1-i]",
		Pkg: "./pkg/store/dynamodb", Test: "TestAuditPrune", Says: "after 1 deletions: Verify",
	},
	{
		Name: "prune-by-own-clock", Rule: "on record",
		File: "internal/cli/prune.go", Old: "if p.Clock.Settle(ctx) { // otherwise", New: "if p.Clock.Settle(ctx) || true { // otherwise",
		Pkg: "./internal/cli", Test: "TestServePrunes", Says: "in a day, want 0 and 0",
	},
	{
		Name: "last-handout-is-dropped", Rule: "on record",
		File: "pkg/store/sqlite/statements.go", Old: "AND h.caller = handouts.caller AND h.last > handouts.last)`},", New: "AND h.caller = handouts.caller AND h.last >= handouts.last)`},",
		Pkg: "./pkg/store/sqlite", Test: "TestHandoutRepetitions", Says: "PruneHandouts = ",
	},
	{
		Name: "waiting-without-a-bound", Rule: "on record",
		File: "pkg/audit/log.go", Old: "if len(b.events) > 0 && b.size+len(event) > maxBatch {", New: "if false {",
		Pkg: "./pkg/audit", Test: "TestWhatWaitsForTheDiskIsBounded", Says: "bytes of .* events wait",
	},
	{
		Name: "old-secret-is-kept", Rule: "served works",
		File: "pkg/store/content/content.go", Old: "for _, text := range []string{id, e.Secrets[id].Reveal()} {", New: "for _, text := range []string{id} {",
		Pkg: "./pkg/store/content", Test: "TestSealEach", Says: "is another secret",
	},
}
