package main

// ofFiles spoils what keyrot does with the files of others.
var ofFiles = []mutant{
	{
		Name: "profile-not-read-back",
		Rule: "--write-profile changes no other value",
		File: "internal/getkey/profile/edit.go",
		Old:  "return slices.Equal(were, are) && slices.Equal(commands, []string{w.command})",
		New:  "return len(were) >= 0 && len(are) >= 0 && len(commands) >= 0",
		Pkg:  "./internal/getkey/profile", Test: "TestCorpus/indented$", Says: `edit \(-want \+got\)`,
	},
	{
		Name: "profile-shadowed",
		Rule: "--write-profile says what a client will use",
		File: "internal/getkey/profile/edit.go",
		Old:  "		if s.Name != w.profile {\n			continue",
		New:  "		if s.Name == w.profile {\n			continue",
		Pkg:  "./internal/getkey/profile", Test: "TestCorpus/credentials-static$", Says: `edit \(-refused \+got\)`,
	},
}
