// Package templates holds the CloudFormation template of the serverless
// system, and gives it to "keyrot deploy".
package templates

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"strings"
)

//go:embed keyrot.yaml
var keyrot string

// The lines that the API is between, and the logical name of its deployment.
const (
	apiBegins  = "  # --- The API."
	apiEnds    = "  # --- end of the API"
	deployment = "ApiDeployment00000000"
)

// Keyrot returns the template. API Gateway serves the snapshot that a
// deployment resource took when it was made: its logical name is made out of
// the API's part of the template and settings, the values of parameters that
// take part in it, so that CloudFormation makes another when these change.
func Keyrot(settings ...string) string {
	_, api, _ := strings.Cut(keyrot, apiBegins)
	api, _, _ = strings.Cut(api, apiEnds)
	sum := sha256.Sum256([]byte(api + "\x00" + strings.Join(settings, "\x00")))
	return strings.ReplaceAll(keyrot, deployment, "ApiDeployment"+hex.EncodeToString(sum[:4]))
}
