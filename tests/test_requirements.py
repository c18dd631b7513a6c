"""The requirements of the books that pxeforge grew from (R-20 to R-56): each has a test that exists and names it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A requirement and the tests that prove it; the docstring of each test says the requirement's number.
PROOFS: dict[str, tuple[str, ...]] = {
    # Trees are imported, immutable and versioned; several ISOs are merged; room is checked before.
    "R-20": (
        "tests/services/test_iso_import.py::test_a_dvd_of_rocky_becomes_a_tree_with_kernel_and_loaders",
        "tests/services/test_iso_import.py::test_two_dvds_of_centos_become_one_repository",
        "tests/services/test_iso_import.py::test_too_little_space_is_told_before_anything_is_written",
        "tests/services/test_iso_import.py::test_an_iso_that_nobody_vouches_for_is_refused_or_marked",
    ),
    # The mirror has the modules of the installer's kernel.
    "R-21": (
        "tests/services/test_fit.py::test_a_mirror_without_modules_for_the_kernel_refuses_the_arming",
        "tests/services/test_fit.py::test_an_arming_that_cannot_work_changes_nothing",
    ),
    # The mirror is our own cache, an upstream behind a proxy, or the imported tree; it is always rendered.
    "R-22": ("tests/services/test_fit.py::test_the_mirror_that_is_asked_is_the_one_that_the_installer_will_use",),
    # live-installer/net-image for the trees that need it.
    "R-23": (
        "tests/services/test_iso_import.py::test_ubuntu_14_has_the_network_installer_and_its_squashfs",
        "tests/services/test_fit.py::test_an_image_that_lost_what_the_host_will_fetch_is_refused",
        "tests/render/test_golden.py::test_the_squashfs_is_named_for_trees_that_need_it_only",
    ),
    # Routes of our own with Range and HEAD.
    "R-24": ("tests/webapp/test_image_trees.py::test_every_file_of_the_tree_is_there_under_its_name",),
    # Foreign repositories come with their keys.
    "R-25": ("tests/render/test_repositories.py::test_a_debian_repository_is_signed_by_its_own_key",),
    # The server is the source of time.
    "R-26": ("tests/roles/test_shipped_roles.py::test_time_comes_from_the_server_unless_others_are_named",),
    # The NIC that netbooted, never a name.
    "R-30": (
        "tests/render/test_preseed_requirements.py::test_r30_the_nic_that_netbooted_is_taken_and_no_name_of_a_nic_is_written",
    ),
    # What is asked early stands on the command line.
    "R-31": (
        "tests/render/test_preseed_requirements.py::test_r31_what_is_asked_before_the_file_is_read_stands_on_the_command_line",
    ),
    # Arguments behind the separator.
    "R-32": (
        "tests/render/test_preseed_requirements.py::test_r32_only_words_behind_the_separator_reach_the_installed_system",
    ),
    # Late snippets are merged.
    "R-33": (
        "tests/render/test_preseed_requirements.py::test_r33_late_snippets_of_all_sources_become_one_command_and_a_second_one_is_an_error",
        "tests/services/test_late_snippets.py::test_all_sources_are_merged_in_their_order",
    ),
    # The late command cannot fail.
    "R-34": ("tests/render/test_preseed_requirements.py::test_r34_the_late_command_cannot_fail",),
    # Continuation lines.
    "R-35": ("tests/render/test_preseed_requirements.py::test_r35_traps_of_continued_lines_are_named",),
    # The linter knows the sample's faults.
    "R-36": ("tests/render/test_preseed_requirements.py::test_r36_the_faults_of_the_printed_sample_are_errors",),
    # Disks are chosen by rule and guarded.
    "R-37": (
        "tests/render/test_preseed_requirements.py::test_r37_the_disk_is_always_chosen_by_rule_and_nothing_is_asked",
        "tests/render/test_disks_script.py::test_a_disk_labelled_for_its_data_is_not_wiped_by_a_wipe_of_all",
    ),
    # Space for later is left; roles get their disks.
    "R-38": (
        "tests/render/test_preseed_requirements.py::test_r38_space_is_left_for_later_in_the_volume_group_or_on_disks",
        "tests/engine/test_disk_needs.py::test_the_plan_of_a_host_without_the_disks_is_refused_with_what_to_do",
    ),
    # Boot loader on all install disks.
    "R-39": (
        "tests/render/test_preseed_requirements.py::test_r39_the_boot_loader_goes_to_the_chosen_disks_and_is_asked_nothing",
    ),
    # Hashes and keys only.
    "R-40": (
        "tests/render/test_preseed_requirements.py::test_r40_accounts_have_hashes_and_keys_and_never_plain_passwords",
    ),
    # A small system.
    "R-41": ("tests/render/test_preseed_requirements.py::test_r41_little_is_installed_and_the_agents_python_always",),
    # The early hook.
    "R-42": (
        "tests/render/test_preseed_requirements.py::test_r42_the_early_hook_frees_media_arrays_and_volumes_and_reports",
    ),
    # A name for each host.
    "R-43": ("tests/render/test_preseed_requirements.py::test_r43_every_host_has_its_own_name",),
    # Clock.
    "R-44": ("tests/render/test_preseed_requirements.py::test_r44_the_clock_is_utc_and_asks_the_time_server_there_is",),
    # The end, and no second install.
    "R-45": ("tests/render/test_preseed_requirements.py::test_r45_the_end_asks_nothing",),
    # Kickstart: CentOS 6 minimal and with a desktop and virtualization, CentOS 7, Enterprise Linux of today.
    "R-50": (
        "tests/render/test_kickstart.py::test_the_shipped_variants_are_those_of_the_books_and_a_current_one",
        "tests/render/test_golden_families.py::test_what_an_installer_is_given_is_what_was_reviewed",
        "tests/services/test_install_sources.py::test_a_host_is_installed_from_the_menu_to_the_registration",
    ),
    # Each release gets its own syntax, and is linted by it.
    "R-51": (
        "tests/render/test_kickstart.py::test_each_release_gets_the_words_its_installer_knows",
        "tests/render/test_broken_answers.py::test_every_fault_of_the_corpus_is_named",
        "tests/render/test_broken_answers.py::test_a_kickstart_file_is_held_against_its_own_release",
    ),
    # The NIC that netbooted.
    "R-52": ("tests/render/test_kickstart.py::test_the_nic_is_the_one_that_netbooted_and_never_eth0",),
    # No disk but the chosen one.
    "R-53": (
        "tests/render/test_kickstart.py::test_no_disk_but_the_chosen_one_is_named_or_cleared",
        "tests/render/test_family_scripts.py::test_the_guard_tells_the_installer_the_chosen_disk_and_no_other",
    ),
    # %post: callback and registration, no --erroronfail, log in /root/ks-post.log.
    "R-54": (
        "tests/render/test_kickstart.py::test_after_the_install_the_late_script_runs_and_cannot_fail_it",
        "tests/render/test_family_scripts.py::test_rocky_9_gets_the_agent_and_everything_in_order",
        "tests/render/test_family_scripts.py::test_an_old_system_is_registered_by_its_shell",
    ),
    # Kernel arguments of the release.
    "R-55": ("tests/render/test_kickstart.py::test_kernel_arguments_are_those_of_the_release",),
    # Ubuntu by kickstart is not offered, new releases have autoinstall.
    "R-56": (
        "tests/services/test_install_sources.py::test_a_kickstart_template_for_ubuntu_is_refused",
        "tests/render/test_family_scripts.py::test_ubuntu_reads_its_answers_again_with_the_disk_in_them",
    ),
}


@pytest.mark.parametrize(
    ("requirement", "proof"), [(number, proof) for number, proofs in PROOFS.items() for proof in proofs]
)
def test_every_proof_exists_and_names_its_requirement(requirement: str, proof: str) -> None:
    path, _, name = proof.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
    assert len(found) == 1, proof
    assert requirement in (ast.get_docstring(found[0]) or ""), f"{proof} does not say {requirement} in its docstring"


def test_every_requirement_is_in_the_table_by_its_number() -> None:
    assert list(PROOFS) == sorted(PROOFS)
    assert all(PROOFS.values())
