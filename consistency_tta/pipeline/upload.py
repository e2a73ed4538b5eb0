"""A model folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import create_repo, file_exists, upload_folder

UPLOAD_OPTIONS = ("repo_id", "commit_message", "private", "create_pr", "token")


def upload_model(
    folder: Path,
    repo_id: str | None = None,
    commit_message: str | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    token: str | None = None,
) -> str:
    """Upload a model folder; returns the address of the commit. A card that is on the hub already stays.

    Args:
        folder: to upload.
        repo_id: such as ``user/name``; the folder's name if not given.
        commit_message, private, create_pr, token: see ``huggingface_hub``.
    """
    repo_id = create_repo(repo_id or folder.name, exist_ok=True, private=private, token=token).repo_id
    commit = upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        token=token,
        commit_message=commit_message or "Upload TextToAudioPipeline",
        create_pr=create_pr,
        ignore_patterns=["README.md"] if file_exists(repo_id, "README.md", token=token) else None,
    )
    return str(commit)
