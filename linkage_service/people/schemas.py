"""Wire models of people, enrolment, sign-in and sessions."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from linkage_service.ids import id_pattern
from linkage_service.people import tables
from linkage_service.people.passwords import BYTES_MAX
from linkage_service.wire import Input, Name, Output, Timestamp

Role = Literal["administrator", "officer", "operator", "signatory", "analyst", "recipient"]
PersonId = Annotated[str, StringConstraints(pattern=id_pattern("per"))]
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
_Code = Annotated[SecretStr, Field(min_length=6, max_length=6, description="Six digits of the authenticator app.")]
_Password = Annotated[SecretStr, Field(min_length=1, max_length=BYTES_MAX)]
_Sealed = Annotated[SecretStr, Field(min_length=16, max_length=4096)]


def _login_name(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text.lower()


Email = Annotated[
    str,
    StringConstraints(pattern=r"^[^@\s]{1,64}@[^@\s]{1,189}$", max_length=254),
    AfterValidator(_login_name),
]


class PersonDraft(Input):
    """A person to invite."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Alex Morgan", "email": "alex.morgan@northshire.example", "roles": ["signatory"]}]
        }
    )

    name: Name
    email: Email
    roles: Annotated[list[Role], Field(min_length=1, max_length=6)]


class RolesDraft(Input):
    """The roles that a person has from now on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"roles": ["analyst"]}]})

    roles: Annotated[list[Role], Field(min_length=1, max_length=6)]


class Person(Output):
    """A person of an organisation."""

    id: str
    organisation: str
    name: str
    email: str
    roles: list[Role]
    status: Literal["invited", "active", "disabled"]
    signs_in_with: Literal["password", "oidc"] | None
    created_at: Timestamp

    @classmethod
    def of(cls, row: tables.Person) -> "Person":
        """Renders a row."""
        with_oidc = "oidc" if row.oidc_subject else None
        known = row.model_dump(include=set(cls.model_fields))
        return cls.model_validate({**known, "signs_in_with": "password" if row.password_hash else with_oidc})


class PersonInvitation(Output):
    """A single-use link with which a person sets a password and a second factor. It is shown once."""

    person: Person
    token: str
    path: Annotated[str, Field(description="Of the page to open, below this service's address.")]
    expires_at: Timestamp


class Enrolment(Output):
    """What an invitation is for."""

    name: str
    email: str
    organisation: str
    organisation_name: str
    roles: list[Role]
    oidc: Annotated[bool, Field(description="Whether the person can enrol with the identity provider instead.")]
    expires_at: Timestamp


class EnrolmentDraft(Input):
    """The password of a person who enrols."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"password": "a long phrase of your own"}]})

    password: _Password


class SecondFactor(Output):
    """The second factor to put into an authenticator app, shown this once; it counts when a code confirms it."""

    secret: Annotated[str, Field(description="Base 32, to type.")]
    otpauth_uri: Annotated[str, Field(description="For a QR code.")]
    enrolment: Annotated[str, Field(description="Send it back with the first code.")]
    expires_at: Timestamp


class EnrolmentConfirmation(Input):
    """The first code of the authenticator app."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"enrolment": "what-the-first-step-gave", "code": "123456"}]}
    )

    enrolment: _Sealed
    code: _Code


class PasswordCheck(Input):
    """E-mail address and password, the first of two steps."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"email": "alex.morgan@northshire.example", "password": "a long phrase of your own"}]
        }
    )

    email: Email
    password: _Password


class SignInStep(Output):
    """What to send with the code. It is given whether the password was right or not."""

    sign_in: str
    expires_at: Timestamp


class SessionDraft(Input):
    """Both factors at once, or the second one with what the first step gave."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "email": "alex.morgan@northshire.example",
                    "password": "a long phrase of your own",
                    "code": "123456",
                },
                {"sign_in": "what-the-first-step-gave", "code": "123456"},
            ]
        }
    )

    email: Email | None = None
    password: _Password | None = None
    sign_in: _Sealed | None = None
    code: _Code

    @model_validator(mode="after")
    def _one_way_or_the_other(self) -> Self:
        given = (self.email is not None, self.password is not None, self.sign_in is not None)
        if given not in {(True, True, False), (False, False, True)}:
            raise ValueError("needs email and password, or sign_in, and not both")
        return self


class PersonSession(Output):
    """A session."""

    id: str
    current: bool
    method: Literal["password+totp", "oidc"]
    browser: str
    source: str
    stepped_up: bool
    created_at: Timestamp
    last_seen_at: Timestamp
    expires_at: Timestamp


class PersonSessions(Output):
    """A person's sessions, newest first."""

    items: list[PersonSession]


class StepUpDraft(Input):
    """The second factor again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "123456"}]})

    code: _Code


class PasswordChange(Input):
    """The password so far, and the next."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"password": "a long phrase of your own", "new_password": "another phrase that is long"}]
        }
    )

    password: _Password
    new_password: _Password


class SignInOptions(Output):
    """How people sign in here."""

    password: bool
    oidc: bool


class OidcDraft(Input):
    """What the identity provider is asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"purpose": "sign_in"}, {"purpose": "enrol", "invitation": "A" * 43}, {"purpose": "step_up"}]
        }
    )

    purpose: Literal["sign_in", "enrol", "step_up"]
    invitation: Token | None = None

    @model_validator(mode="after")
    def _invitation_to_enrol(self) -> Self:
        if (self.purpose == "enrol") is not (self.invitation is not None):
            raise ValueError("an invitation is for enrolling, and enrolling needs one")
        return self


class OidcStart(Output):
    """Where to send the browser."""

    authorization_url: str
    expires_at: Timestamp


class OidcAnswer(Input):
    """What the identity provider sent back with the browser."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "the-code", "state": "the-state"}]})

    code: Annotated[SecretStr, Field(min_length=1, max_length=4096)]
    state: Annotated[SecretStr, Field(min_length=1, max_length=256)]
    iss: Annotated[str | None, Field(max_length=1024, description="RFC 9207.")] = None
