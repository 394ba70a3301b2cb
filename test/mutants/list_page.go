package main

// ofPage are the mutants of the status page.
var ofPage = []mutant{
	{
		Name: "page-is-green-when-late", Rule: "told",
		File: "pkg/page/words.go", Old: "now.Sub(e.Due) > lateAfter:", New: "now.Sub(e.Due) > 1000*lateAfter:",
		Pkg: "./pkg/page", Test: "TestHowUsersAre", Says: `want warn "late"`,
	},
	{
		Name: "page-sends-what-is-there", Rule: "told",
		File: "pkg/page/drawing.go", Old: "return ok && old == m || have[m]", New: "return ok && old == m",
		Pkg: "./pkg/page", Test: "TestOnlyWhatChangesIsSent", Says: "want a beat",
	},
	{
		Name: "page-moves-late-plans", Rule: "told",
		File: "pkg/page/status.go", Old: "return now.Truncate(step).Add(step)", New: "return now.Add(step)",
		Pkg: "./pkg/page", Test: "TestPlansThatAreLateMoveInSteps", Says: "is planned for 60 instants",
	},
	{
		Name: "page-opens-others-cards", Rule: "no leak",
		File: "pkg/page/render.go", Old: "if !slices.Contains(names, name) && sees(name) {", New: "if !slices.Contains(names, name) {",
		Pkg: "./pkg/page", Test: "TestNarrowViewerSeesItsUsersOnly", Says: "tells of others",
	},
	{
		Name: "page-shares-views", Rule: "no leak",
		File: "pkg/page/snapshot.go", Old: `id := q.encode() + "\n" + strings.Join(key.Users, "\n")`, New: "id := q.encode()",
		Pkg: "./pkg/page", Test: "TestNarrowViewerSeesItsUsersOnly", Says: "tells of others",
	},
}
