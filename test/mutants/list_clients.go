package main

// ofClients are the mutants of what runs on the machines of those who ask, and
// of what is set there and on the server.
var ofClients = []mutant{
	{
		Name: "gateway-believed", Rule: "only keyrot's own code takes something away",
		File: "pkg/client/again.go", Old: "return api.ByGateway(err) || ", New: "return api.ByGateway(nil) || ",
		Pkg: "./pkg/client", Test: "TestAGatewayIsAskedAgain", Says: "for 1s: Credential = ",
	},
	{
		Name: "gateway-token-kept", Rule: "only keyrot's own code takes something away",
		File: "pkg/client/client.go", Old: "(c.Proof != nil || api.ByGateway(err))", New: "c.Proof != nil",
		Pkg: "./pkg/client", Test: "TestAGatewaysWordForAnExpiredToken", Says: "want a key at once after one",
	},
	{
		Name: "variable-ignored", Rule: "no setting is dropped without a word",
		File: "internal/config/load.go", Old: "errors.Join(unknown, environ(src.Environ, known, src.Getenv))", New: "errors.Join(unknown, environ(nil, known, src.Getenv))",
		Pkg: "./internal/config", Test: "TestVariablesThatAreNoSettings", Says: "KEYROT_USERS_EXCLUDES=a: Load = <nil>",
	},
	{
		Name: "target-key-ignored", Rule: "no setting is dropped without a word",
		File: "internal/config/targets.go", Old: "case !its && k.given(t):", New: "case false:",
		Pkg: "./internal/config", Test: "TestSettingsThatWouldNotBeUsed", Says: "kms_key: is for type ssm",
	},
	{
		Name: "shared-folder", Rule: "nobody else has a say in what is believed",
		File: "internal/disk/folder.go", Old: "why != \"\" && info.Mode()&fs.ModeSticky != 0", New: "why != \"\" && false",
		Pkg: "./internal/disk", Test: "TestAlone", Says: "shared/f.* = <nil>",
	},
	{
		Name: "leak-told-again", Rule: "what is told once is not told again",
		File: "pkg/notify/book.go", Old: "if e.once != \"\" && b.told(e.once, e.At) {", New: "if e.once != \"\" && b.told(e.once, e.At) && false {",
		Pkg: "./pkg/notify", Test: "TestALingeringLeakIsToldOnce", Says: "a leaked key was made inactive",
	},
}
