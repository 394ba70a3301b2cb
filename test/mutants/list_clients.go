package main

// ofClients are the mutants of what runs on the machines of those who ask.
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
}
