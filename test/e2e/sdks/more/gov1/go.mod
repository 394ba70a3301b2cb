module github.com/keyrot/keyrot/test/e2e/sdks/more/gov1

go 1.26

require github.com/aws/aws-sdk-go v1.55.8

require github.com/jmespath/go-jmespath v0.4.0 // indirect
