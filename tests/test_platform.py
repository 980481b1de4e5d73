"""Projects and their owners."""

from collections import Counter

import pytest
from playhouse.test_utils import count_queries

import engagement_db as edb
from engagement_db import Project
from engagement_db.testing import make_user


@pytest.fixture
def ada(database):
    return make_user("ada")


@pytest.fixture
def project(database):
    return Project.create(title="bridge")


def test_a_project_is_assigned_to_an_owner(project, ada):
    assert project.assign_owner(ada) is True
    assert project.owner == ada
    row = Project.get()
    assert row.owner_id == ada.id
    assert row.updated_at > project.created_at


def test_assigning_the_same_owner_again_returns_that_nothing_changed(project, ada):
    project.assign_owner(ada.id)
    before = Project.get().updated_at
    assert project.assign_owner(ada) is False
    assert Project.get().updated_at == before


def test_a_project_can_be_taken_from_its_owner(project, ada):
    project.assign_owner(ada)
    assert project.assign_owner(None) is True
    assert Project.get().owner_id is project.owner_id is None


@pytest.mark.parametrize("wrong", [10**6, 2**31, 2**63, "ada", True], ids=repr)
def test_an_owner_who_does_not_exist_is_refused(project, ada, wrong):
    project.assign_owner(ada)
    said = "users (1000000|2147483648) does not exist|projects.ownerId"
    with pytest.raises((edb.NotFound, edb.RefusedValue), match=said):
        project.assign_owner(wrong)
    assert Project.get().owner_id == project.owner_id == ada.id


def test_a_project_that_does_not_exist_is_refused(project, ada):
    Project.delete().execute()
    with pytest.raises(edb.NotFound, match=f"projects {project.id} does not exist"):
        project.assign_owner(ada)


def test_a_dashboard_sees_the_projects_of_its_owner_newest_first(ada):
    bob = make_user("bob")
    first, _, third = (
        Project.create(title=title, owner=owner) for title, owner in (("a", ada), ("b", bob), ("c", ada))
    )
    assert list(Project.owned_by(ada)) == [third, first]
    assert list(Project.owned_by(ada.id).where(Project.title == "a")) == [first]
    assert Project.owned_by(ada).count() == 2
    assert list(Project.owned_by(10**6)) == []


def test_projects_are_counted_by_owner(ada, project):
    bob = make_user("bob")
    for owner in (ada, ada, bob):
        Project.create(title="x", owner=owner)
    with count_queries() as counted:
        assert Project.counts_by_owner([ada, bob.id, 10**6]) == Counter({ada.id: 2, bob.id: 1})
    assert counted.count == 1
    assert Project.counts_by_owner([]) == Counter()


@pytest.mark.parametrize("owners", [range(1, 202), [None], ["x"]], ids=["201 owners", "nobody", "text"])
def test_invalid_owners_are_refused(database, owners):
    with pytest.raises(edb.RefusedValue, match="projects.ownerId"):
        Project.counts_by_owner(owners)


def test_projects_of_none_are_refused(database):
    with pytest.raises(edb.RefusedValue, match="a value is required"):
        Project.owned_by(None)
