package main

// ofGrowth are the mutants of what is read, kept and cut as there is more and
// more of it.
var ofGrowth = []mutant{
	{
		Name: "removed-users-stay", Rule: "on time",
		File: "pkg/store/sqlite/entries.go", Old: "if c.Whole || removed <= mark && mark <= c.Mark {", New: "if c.Whole || mark <= c.Mark {",
		Pkg: "./pkg/store/sqlite", Test: "TestConformance", Says: "what the changes say differs from List",
	},
	{
		Name: "old-records-end-troubles", Rule: "told",
		File: "pkg/notify/book.go", Old: "!b.Troubles[user][what].At.After(e.At) && e.over(user, what)", New: "e.over(user, what)",
		Pkg: "./pkg/notify", Test: "TestTheBookKeepsOpenTroublesOnly", Says: "want bob's only",
	},
}
