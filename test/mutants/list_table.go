package main

// ofTable are the mutants of what a rotation leaves in the table.
var ofTable = []mutant{
	{
		Name: "no-first-end", Rule: "on record",
		File: "pkg/store/dynamodb/audit.go", Old: "if !at.there && at.gap ==", New: "if false && at.gap ==",
		Pkg: "./pkg/store/dynamodb", Test: "TestAuditBegins", Says: "was queried|tells of a gap",
	},
	{
		Name: "stale-successor", Rule: "never zero",
		File: "pkg/rotate/plan/policy.go", Old: "return p.Lag / 2 }", New: "return p.Lag }",
		Pkg: "./pkg/rotate/plan", Test: "TestNext", Says: "want probe .B. because unchecked",
	},
}
