package main

// ofBounds are the mutants of calls that are never answered, and of the clock
// that clients go by.
var ofBounds = []mutant{
	{
		Name: "calls-without-a-bound", Rule: "on time",
		File: "internal/cli/aws.go", Old: "awsconfig.WithHTTPClient(bound.Client())", New: "awsconfig.WithHTTPClient(bound.Within(bound.Client(), 0))",
		Pkg: "./internal/cli", Test: "TestCallsToAWSAreBounded", Says: "connectAWS: calls to AWS have no bound",
	},
	{
		Name: "attempts-without-end", Rule: "on time",
		File: "internal/bound/bound.go", Old: "return b.WithTimeout(bound)", New: "return b",
		Pkg: "./internal/bound", Test: "TestWithin", Says: "did not change the bound",
	},
	{
		Name: "selection-hangs", Rule: "on time",
		File: "pkg/rotate/selection.go", Old: "reading, cancel := context.WithTimeout(ctx, saveTime)", New: "reading, cancel := context.WithCancel(ctx)",
		Pkg: "./pkg/rotate", Test: "TestAnAnswerThatIsLostStopsNobody", Says: "the user has no key",
	},
	{
		Name: "proof-by-own-clock", Rule: "served works",
		File: "pkg/client/client.go", Old: "c.Proof(ctx, c.Time())", New: "c.Proof(ctx, c.now())",
		Pkg: "./pkg/client", Test: "TestAClientWhoseClockIsWrong", Says: "Forbidden|not accepted",
	},
	{
		Name: "cache-by-own-clock", Rule: "served works",
		File: "internal/getkey/entry/entry.go", Old: "return now.Add(max(e.Ahead(), 0))", New: "return now",
		Pkg: "./internal/getkey/entry", Test: "TestValidByTheServersClock", Says: "ten minutes behind, afterwards",
	},
}
