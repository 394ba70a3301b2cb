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
	{
		Name: "confirm-unseen",
		Rule: "a target confirms what its readers see",
		File: "pkg/publish/file.go",
		Old:  "	if !f.InPlace {\n		if err := replaceable(",
		New:  "	if !f.InPlace {\n		write = disk.Replace\n	} else {\n		if err := replaceable(",
		Pkg:  "./pkg/publish", Test: "TestFileInPlace", Says: `Publish of a new pair = .*want a refusal`,
	},
	{
		Name: "in-place-by-rename",
		Rule: "a target confirms what its readers see",
		File: "pkg/publish/file.go",
		Old:  "name, write := filepath.Base(path), disk.Overwrite",
		New:  "name, write := filepath.Base(path), disk.Replace",
		Pkg:  "./pkg/publish", Test: "TestFileInPlace", Says: `its other name reads`,
	},
}
