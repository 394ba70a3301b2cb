package api

import (
	_ "embed"
	"slices"
)

//go:generate go run ../../internal/apidoc -o ../../docs/api.md

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI returns the description of the routes (OpenAPI 3.1, YAML).
func OpenAPI() []byte { return slices.Clone(openAPI) }
